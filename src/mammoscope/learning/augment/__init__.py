"""Random changes of the pictures that a network is trained on."""
