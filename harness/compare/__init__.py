"""An experiment against the study's baseline: the difference of two runs of one seed that were computed alike."""
