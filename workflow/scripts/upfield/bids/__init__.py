"""BIDS in and out: which scans there are, which belong together, how derivatives are called."""

from upfield.bids.choose import choose, reasons, say_uncertain
from upfield.bids.cohorts import assemble_cohorts, cohort_label, companions, read_links
from upfield.bids.contrasts import contrast_names, contrasts, with_contrasts
from upfield.bids.dataset import no_dataset
from upfield.bids.find import ENTITY_KEYS, brain_masks, find, inspect
from upfield.bids.index import read_scans
from upfield.bids.names import label, link, person, reconstructed, sidecar, uri
from upfield.bids.pairing import assemble, pair, simulated_sources
from upfield.bids.samples import read_samples
from upfield.bids.scan import SIMULATED, Exclusion, Index, Pair, Scan
from upfield.bids.tables import (
    IGNORED,
    describe_converted,
    excluded_table,
    inventory_table,
    pairs_table,
    participants_table,
    write_description,
)
from upfield.bids.validate import validation_table
from upfield.bids.visits import as_visits

__all__ = [
    "ENTITY_KEYS",
    "IGNORED",
    "SIMULATED",
    "Exclusion",
    "Index",
    "Pair",
    "Scan",
    "as_visits",
    "assemble",
    "assemble_cohorts",
    "brain_masks",
    "choose",
    "cohort_label",
    "companions",
    "contrast_names",
    "contrasts",
    "describe_converted",
    "excluded_table",
    "find",
    "inspect",
    "inventory_table",
    "label",
    "link",
    "no_dataset",
    "pair",
    "pairs_table",
    "participants_table",
    "person",
    "read_links",
    "read_samples",
    "read_scans",
    "reasons",
    "reconstructed",
    "say_uncertain",
    "sidecar",
    "simulated_sources",
    "uri",
    "validation_table",
    "with_contrasts",
    "write_description",
]
