"""``python -m mmad``: the command line."""

from mmad.cli.app import main

if __name__ == "__main__":
    main()
