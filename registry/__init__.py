"""`reg`: data and models through their life on Weights & Biases, where no alias moves without evidence."""

__version__ = "0.1.0"
