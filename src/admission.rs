//! From where, and how, a managed role may log in; kept in its label. Pure.
#![forbid(unsafe_code)]

pub mod hours;
pub mod network;
pub mod refusal;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use hours::{Moment, Window};
use network::Network;

/// Where the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// On this machine, by a Unix socket.
    Local,
    Tcp {
        address: IpAddr,
        tls: bool,
    },
    Unknown,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// The networks of TCP clients; `None`: any. An empty list: none, so Unix sockets only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ips: Option<Vec<Network>>,
    /// Whether Unix sockets may be used; `None`: when any address may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<bool>,
    /// Whether TCP connections must use TLS.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tls: bool,
    /// When it may log in; empty: at any time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hours: Vec<Window>,
    /// The time zone of `hours`, by its IANA name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

impl Rules {
    pub fn allows_local(&self) -> bool {
        self.local.unwrap_or(self.ips.is_none())
    }

    pub fn allow_at(&self, moment: Moment) -> bool {
        self.hours.is_empty() || self.hours.iter().any(|window| window.contains(moment))
    }

    /// Without a single rule there is nothing to keep.
    pub fn is_empty(&self) -> bool {
        *self == Rules::default()
    }

    /// Do they say where a client must be, or how it must come?
    pub fn say_where(&self) -> bool {
        self.ips.is_some() || self.local.is_some() || self.tls
    }

    /// Is there any way to log in?
    pub fn admits_nobody(&self) -> bool {
        self.ips.as_ref().is_some_and(Vec::is_empty) && !self.allows_local()
    }
}
