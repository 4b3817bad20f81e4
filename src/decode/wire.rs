//! The formats that rows may travel in.

/// How ClickHouse hands over the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wire {
    /// Row after row, field after field, each row put together by ClickHouse as one text.
    #[default]
    RowBinary,
    /// Block after block, column after column, few-valued columns with their dictionaries.
    Native,
}

impl Wire {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::RowBinary, Self::Native];

    /// The name that settings use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RowBinary => "rowbinary",
            Self::Native => "native",
        }
    }

    /// The wire with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|wire| wire.as_str() == name)
    }

    /// ClickHouse's name of the format that hands the rows over.
    pub const fn format(self) -> &'static str {
        match self {
            Self::RowBinary => "RawBLOB",
            Self::Native => "Native",
        }
    }
}
