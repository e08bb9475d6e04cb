"""A phantom study: simulated 64 mT and 3 T heads as a raw BIDS dataset, made without a download."""

from upfield.phantom.dataset import scans, write_dataset, write_subject
from upfield.phantom.scanner import Phantom, Subject, simulate

__all__ = ["Phantom", "Subject", "scans", "simulate", "write_dataset", "write_subject"]
