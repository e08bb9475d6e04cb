"""From native scans to pairs on one grid."""
