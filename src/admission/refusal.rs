//! Why a login is refused. Pure.
#![forbid(unsafe_code)]

/// The numbers are kept in a file: they do not change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Refusal {
    Label = 1,
    Ending = 2,
    Quarantined = 3,
    NotALogin = 4,
    NoDeadline = 5,
    Deadline = 6,
    Local = 7,
    Address = 8,
    Tls = 9,
    Nowhere = 10,
    Hours = 11,
    TimeZone = 12,
    Replication = 13,
    Database = 14,
    Token = 15,
    NoTokenLogin = 16,
}

impl Refusal {
    pub const ALL: [Self; 16] = [
        Self::Label,
        Self::Ending,
        Self::Quarantined,
        Self::NotALogin,
        Self::NoDeadline,
        Self::Deadline,
        Self::Local,
        Self::Address,
        Self::Tls,
        Self::Nowhere,
        Self::Hours,
        Self::TimeZone,
        Self::Replication,
        Self::Database,
        Self::Token,
        Self::NoTokenLogin,
    ];

    /// One word, for views.
    pub fn class(self) -> &'static str {
        match self {
            Self::Label => "label",
            Self::Ending | Self::Quarantined => "state",
            Self::NotALogin => "kind",
            Self::NoDeadline | Self::Deadline => "deadline",
            Self::Local => "local",
            Self::Address | Self::Nowhere => "address",
            Self::Tls => "tls",
            Self::Hours | Self::TimeZone => "hours",
            Self::Replication => "replication",
            Self::Database => "database",
            Self::Token => "token",
            Self::NoTokenLogin => "no_token_login",
        }
    }

    /// For the server log only.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Label => "its label cannot be read",
            Self::Ending => "it is being ended",
            Self::Quarantined => "it is in quarantine",
            Self::NotALogin => "it is not a login",
            Self::NoDeadline => "it has no deadline",
            Self::Deadline => "its deadline has passed",
            Self::Local => "Unix sockets are not allowed to it",
            Self::Address => "the client's address is not allowed to it",
            Self::Tls => "the connection does not use TLS",
            Self::Nowhere => "the client's address is not known",
            Self::Hours => "it may not log in at this time",
            Self::TimeZone => "the time zone of its hours is not known to this server",
            Self::Replication => "an authenticator cannot replicate",
            Self::Database => {
                "its scopes hold something in this database too, and it was issued in another"
            }
            Self::Token => "its token was refused",
            Self::NoTokenLogin => {
                "it is no login by token, and a trust line of pg_hba.conf for those has let it in"
            }
        }
    }
}
