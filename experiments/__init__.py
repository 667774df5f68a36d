"""One module a system, each run by `python -m experiments.<name> --workdir=...`."""
