//! Arrow schemas of the stored tables, one constant per column.
