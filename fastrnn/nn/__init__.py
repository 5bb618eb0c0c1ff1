"""What networks are made of: modules with parameters, recurrent layers, cells and streams, and layers beside them."""
