"""`python -m harness`: the pipeline's way to call the command line, so that it runs the code of the folder it is in."""

from harness.cli import main

if __name__ == "__main__":
    main()
