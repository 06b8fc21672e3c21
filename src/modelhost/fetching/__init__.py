"""What the host fetches for clients from elsewhere, and which addresses it connects to for them."""
