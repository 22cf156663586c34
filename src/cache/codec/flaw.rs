//! What can be wrong with a record, and why is one not written?

use super::envelope::MAX_RECORD;
use super::record::MAX_MEMBERS;

/// Why bytes are not a stored response that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Another version of Larder wrote it.
    #[error("the record has version {0}, which this version of Larder does not read")]
    UnknownVersion(u8),
    /// It is longer than a record may be.
    #[error("a record of {0} bytes; {MAX_RECORD} are the most")]
    TooLong(usize),
    /// It ends before it should.
    #[error("the record is cut off")]
    Truncated,
    /// It was changed since it was written.
    #[error("the checksum of the record is wrong")]
    WrongChecksum,
    /// It does not have the form of a record.
    #[error("the record does not have its form")]
    Malformed,
    /// Something in it has too many members.
    #[error("something in the record has more than {MAX_MEMBERS} members")]
    TooManyMembers,
    /// It belongs to another key.
    #[error("the record belongs to another key")]
    ForeignKey,
    /// It has a status that no stored response has.
    #[error("{0} is no status of a stored response")]
    Status(u16),
    /// The name of a field is none, or belongs to a connection.
    #[error("a field of the record has a name that it may not have")]
    FieldName,
    /// The value of a field is none.
    #[error("a field of the record has an invalid value")]
    FieldValue,
    /// The selecting fields are none that a `Vary` can name.
    #[error("the selecting fields of the record are impossible")]
    Selecting,
    /// A moment or a duration is beyond all that can be meant.
    #[error("a time in the record is out of range")]
    Time,
    /// The body is larger than may be.
    #[error("a body of {length} bytes; {limit} are the most")]
    TooLarge {
        /// What the record claims.
        length: u64,
        /// What may be.
        limit: u64,
    },
    /// The length of the body, its chunks and its `Content-Length` do not agree.
    #[error("the record contradicts itself about the length of its body")]
    Length,
    /// A chunk of the body is not there, or not the one that was written.
    #[error("chunk {0} of the body is missing or wrong")]
    Chunk(usize),
    /// All chunks are right, but the body is another one.
    #[error("the digest of the body is wrong")]
    WrongDigest,
}

impl Flaw {
    /// Every label.
    pub const LABELS: [&'static str; 16] = [
        "unknown_version",
        "too_long",
        "truncated",
        "wrong_checksum",
        "malformed",
        "too_many_members",
        "foreign_key",
        "status",
        "field_name",
        "field_value",
        "selecting",
        "time",
        "too_large",
        "length",
        "chunk",
        "wrong_digest",
    ];

    /// Its place among [`Flaw::LABELS`].
    pub const fn place(self) -> usize {
        match self {
            Self::UnknownVersion(_) => 0,
            Self::TooLong(_) => 1,
            Self::Truncated => 2,
            Self::WrongChecksum => 3,
            Self::Malformed => 4,
            Self::TooManyMembers => 5,
            Self::ForeignKey => 6,
            Self::Status(_) => 7,
            Self::FieldName => 8,
            Self::FieldValue => 9,
            Self::Selecting => 10,
            Self::Time => 11,
            Self::TooLarge { .. } => 12,
            Self::Length => 13,
            Self::Chunk(_) => 14,
            Self::WrongDigest => 15,
        }
    }

    /// It in one word, as metrics have it.
    pub const fn label(self) -> &'static str {
        Self::LABELS[self.place()]
    }
}

/// Why a stored response is not written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Only a part of the representation is stored.
    #[error("only a part of the response is stored")]
    Part,
    /// A client's `Authorization` or `Cookie` would be written with it.
    #[error("a secret of a client selects the response")]
    Secret,
    /// The key is none of ours, or the response is labelled with another URL than the key's.
    #[error("the key does not say what the response is labelled with")]
    Key,
    /// A field of a connection, or a `Content-Length` that is not the body's.
    #[error("the fields of the response belong to a connection, or contradict its body")]
    Fields,
    /// A status that no stored response has.
    #[error("the status is none of a stored response")]
    Status,
    /// More fields, tags or chunks than can be written down.
    #[error("something in the response has more than {MAX_MEMBERS} members")]
    TooManyMembers,
    /// Its fields and tags are longer than a record may be.
    #[error("the head takes more than {MAX_RECORD} bytes")]
    TooLong,
}
