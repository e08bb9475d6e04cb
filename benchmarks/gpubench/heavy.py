"""What every part imports, so that it is imported once; the first optimiser would import the compiler."""

import torch._dynamo  # noqa: F401
import upfield.degrade
import upfield.metrics
import upfield.model
import upfield.predict.inference
import upfield.preprocess
import upfield.training.run  # noqa: F401
