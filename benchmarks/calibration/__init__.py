"""How often the tests of a report err, and what they find: simulated studies, and real runs of one net."""
