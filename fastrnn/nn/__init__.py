"""The parts of networks: modules with parameters, recurrent layers, cells, streams, and layers without a state."""
