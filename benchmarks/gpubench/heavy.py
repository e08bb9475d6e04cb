"""What parts import, so that it is imported once; the first optimiser would import the compiler."""

import torch._dynamo  # noqa: F401
import upfield.evaluate.metrics
import upfield.image.histograms
import upfield.methods.upfield
import upfield.plan.decide
import upfield.plan.fingerprint
import upfield.predict.inference
import upfield.preprocess.grid
import upfield.simulation.degradation
import upfield.study.config
import upfield.training.run  # noqa: F401
