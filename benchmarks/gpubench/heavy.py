"""What every part imports, so that it is imported once; optimisers would import the compiler with their first step."""

import upfield.degrade
import upfield.inference
import upfield.metrics
import upfield.model
import upfield.preprocess
import upfield.training.run  # noqa: F401
