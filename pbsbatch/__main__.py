"""Run the command line as `python -m pbsbatch`."""

from pbsbatch.cli import main

if __name__ == "__main__":
    main()
