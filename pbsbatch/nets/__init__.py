"""The shipped networks as torch modules; used by the torch engine and by training alone."""
