"""Models that were made elsewhere: their tensors, read by name from files in other forms, and what became of each of them."""
