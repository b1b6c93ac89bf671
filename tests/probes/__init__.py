"""Probes: many small packings, trainings and evaluations whose every number two versions of the code must agree on."""
