"""How good is a generator: features of a named extractor, Fréchet distance, and the error of both."""
