"""From texts, series and sounds to what a network takes: windows, scales, vocabularies, batches."""
