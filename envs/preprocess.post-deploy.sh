#!/usr/bin/env bash
# deepbet without its GUI dependency; a conda environment file cannot say so.
set -euo pipefail
pip install --no-deps deepbet==1.0.2
