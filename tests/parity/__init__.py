"""Reference cases of the official code: what they hold and how our code computes each of them."""
