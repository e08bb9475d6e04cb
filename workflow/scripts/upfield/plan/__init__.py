"""What a network is trained with, worked out from the data and the memory of the device, with reasons."""
