"""The paper's claims: declared in a file, tested on a study's runs, each with a verdict from one stated rule."""
