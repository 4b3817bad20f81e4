//! RowBinary to batches.
