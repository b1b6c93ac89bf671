"""The report of a study: from the results of its cells to tables, figures and text."""
