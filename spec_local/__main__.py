"""`python -m spec_local` is `spec-local`."""

from spec_local.cli import main

if __name__ == "__main__":
    main()
