"""Brain extraction: several ways, one function (`extraction.extract`), one check of what comes out.

`deepbet`     a network whose weights come with its package (Fisch et al. 2024)
`template`    a template's mask, moved onto the scan by ANTs
`synthstrip`, `hdbet`, `bet`   programs that must be installed
`mask`        masks that are there already, BIDS derivatives
`none`        the scan is skull-stripped: what is above 0
"""
