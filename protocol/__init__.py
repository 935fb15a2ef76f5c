"""What a device and central agree on."""
