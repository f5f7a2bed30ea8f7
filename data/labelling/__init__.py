"""Labels without anyone reading every contact: rules vote, a label model weighs them, the analysis shows how."""

from data.labelling.labeller import LabelResult, label
from data.labelling.scheme import SCHEME, LabellingParams

__all__ = ["SCHEME", "LabelResult", "LabellingParams", "label"]
