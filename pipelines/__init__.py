"""The stages of a model's life, one file each: data in, model out, evaluation, promotion."""
