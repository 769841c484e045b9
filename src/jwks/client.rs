//! The one place that talks to the network: HTTPS by ureq, TLS by rustls. No redirects, no cookies, no proxies from the environment.

use std::fmt;
use std::fs::File as Opened;
use std::io::{self, Read};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustls::CertificateError;
use ureq::config::Config;
use ureq::http::{HeaderMap, Response, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body, Proxy};
use zeroize::Zeroizing;

use super::problem::File;
use super::{Order, Outcome, Place, Problem, Trust, accept, freshness};
use crate::jwt::json;

/// All in all, looking the host up and asking where the keys are included.
pub const LONGEST: Duration = Duration::from_secs(10);
const MOST_BYTES: u64 = 64 * 1_024;
const MOST_HEADER_BYTES: usize = 16 * 1_024;
const MOST_FILE_BYTES: u64 = 4 * 1_024 * 1_024;
const LONGEST_ETAG: usize = 128;
/// Where systems have the authorities that they trust.
const SYSTEM: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/usr/local/share/certs/ca-root-nss.crt",
];

/// Fetches them; never longer than [`LONGEST`], but for looking a host up.
pub fn fetch(order: &Order) -> Result<Outcome, Problem> {
    let client = Client::new(order)?;
    let place = match &order.keys_url {
        Some(url) => Place::parse(url).map_err(Problem::Place)?,
        None => client.described()?,
    };
    order
        .trust
        .check(&place, &order.issuer)
        .map_err(match order.keys_url {
            Some(_) => Problem::Place,
            None => Problem::Described,
        })?;
    let response = client.get(&place, order.etag.as_deref())?;
    let lifetime = lifetime(response.headers());
    match response.status().as_u16() {
        304 if order.etag.is_some() => Ok(Outcome::Unchanged { lifetime }),
        200 => Ok(Outcome::Keys {
            etag: etag(response.headers()),
            lifetime,
            keys: accept(&text(response)?, &order.algorithms)?,
        }),
        status => Err(refused(status)),
    }
}

struct Client<'a> {
    order: &'a Order,
    authorities: Arc<Vec<Certificate<'static>>>,
    token: Option<Zeroizing<String>>,
    until: Instant,
}

impl<'a> Client<'a> {
    fn new(order: &'a Order) -> Result<Self, Problem> {
        let token = order.bearer_token_file.as_deref().map(token).transpose()?;
        Ok(Self {
            order,
            authorities: Arc::new(authorities(order.ca_file.as_deref())?),
            token,
            until: Instant::now() + LONGEST,
        })
    }

    /// Where the issuer's description says that its keys are.
    fn described(&self) -> Result<Place, Problem> {
        let place = Place::of_description(&self.order.issuer).map_err(Problem::Place)?;
        let trust = &self.order.trust;
        trust
            .check(&place, &self.order.issuer)
            .map_err(Problem::Place)?;
        let response = self.get(&place, None)?;
        match response.status().as_u16() {
            200 => {}
            status => return Err(refused(status)),
        }
        let text = text(response)?;
        let members = json::object(&text).map_err(|_| Problem::Description)?;
        let member = |name| {
            let found = members.iter().find(|member| member.name == name)?;
            json::string(found.value)
        };
        if member("issuer").as_deref() != Some(self.order.issuer.as_str()) {
            return Err(Problem::Issuer);
        }
        let uri = member("jwks_uri").ok_or(Problem::NoUri)?;
        Place::parse(&uri).map_err(Problem::Described)
    }

    fn get(&self, place: &Place, etag: Option<&str>) -> Result<Response<Body>, Problem> {
        let refused = Arc::new(AtomicBool::new(false));
        let resolver = Checked {
            place: place.clone(),
            trust: self.order.trust.clone(),
            has_proxy: self.order.proxy.is_some(),
            refused: refused.clone(),
        };
        let agent = Agent::with_parts(self.config()?, DefaultConnector::default(), resolver);
        let mut request = agent.get(&place.url);
        if let Some(token) = self.token.as_ref().filter(|_| self.is_for(place)) {
            request = request.header("Authorization", format!("Bearer {}", token.as_str()));
        }
        if let Some(etag) = etag {
            request = request.header("If-None-Match", etag);
        }
        request.call().map_err(|error| match problem(error) {
            _ if refused.load(Ordering::Relaxed) => Problem::Address,
            problem => problem,
        })
    }

    /// May it see the token? Where an issuer's description says that keys are somewhere else, nobody has said that its token may go there.
    fn is_for(&self, place: &Place) -> bool {
        let own = Place::parse(&self.order.issuer);
        self.order.keys_url.is_some() || own.is_ok_and(|own| own.host == place.host)
    }

    fn config(&self) -> Result<Config, Problem> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Problem::Time);
        }
        let proxy = self.order.proxy.as_deref().map(Proxy::new).transpose();
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .root_certs(RootCerts::Specific(self.authorities.clone()))
            .unversioned_rustls_crypto_provider(Arc::new(
                rustls::crypto::aws_lc_rs::default_provider(),
            ))
            .build();
        Ok(Agent::config_builder()
            .tls_config(tls)
            .proxy(proxy.map_err(|_| Problem::Proxy)?)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(left))
            .max_response_header_size(MOST_HEADER_BYTES)
            .user_agent("scope_roles")
            .accept("application/json")
            .build())
    }
}

fn refused(status: u16) -> Problem {
    match status {
        300..400 => Problem::Redirect(status),
        status => Problem::Status(status),
    }
}

/// Looks the host up, and gives out those of its addresses that may be connected to: no other is.
struct Checked {
    place: Place,
    trust: Trust,
    has_proxy: bool,
    refused: Arc<AtomicBool>,
}

impl fmt::Debug for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checked").finish_non_exhaustive()
    }
}

impl Resolver for Checked {
    fn resolve(
        &self,
        uri: &Uri,
        _config: &Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        const MOST: usize = 16;
        let host = uri.host().ok_or(ureq::Error::HostNotFound)?;
        let is_ours = host.eq_ignore_ascii_case(&self.place.host);
        // With a proxy, that is what is looked up: an administrator has named it.
        if !is_ours && !self.has_proxy {
            return Err(ureq::Error::HostNotFound);
        }
        let is_https = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let found: Vec<SocketAddr> = (bare, port)
            .to_socket_addrs()
            .map_err(|_| ureq::Error::HostNotFound)?
            .collect();
        let mut allowed = self.empty();
        let reaches =
            |address: &&SocketAddr| self.has_proxy || self.trust.reaches(&self.place, address.ip());
        for address in found.iter().filter(reaches).take(MOST) {
            allowed.push(*address);
        }
        if allowed.is_empty() {
            self.refused.store(!found.is_empty(), Ordering::Relaxed);
            return Err(ureq::Error::HostNotFound);
        }
        Ok(allowed)
    }
}

fn lifetime(headers: &HeaderMap) -> Option<i64> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    freshness::lifetime(
        header("cache-control"),
        header("expires"),
        header("date"),
        header("age"),
    )
}

fn etag(headers: &HeaderMap) -> Option<String> {
    let etag = headers.get("etag")?.to_str().ok()?;
    let is_plain = |byte: u8| byte.is_ascii_graphic();
    (etag.len() <= LONGEST_ETAG && etag.bytes().all(is_plain)).then(|| etag.to_owned())
}

fn text(mut response: Response<Body>) -> Result<String, Problem> {
    let said = response
        .headers()
        .get("content-length")
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if said.is_some_and(|said| said > MOST_BYTES) {
        return Err(Problem::Size);
    }
    let limited = response.body_mut().with_config().limit(MOST_BYTES);
    let bytes = limited.read_to_vec().map_err(problem)?;
    String::from_utf8(bytes).map_err(|_| Problem::NoKeySet)
}

fn authorities(file: Option<&str>) -> Result<Vec<Certificate<'static>>, Problem> {
    let pem = match file {
        Some(path) => read(path).map_err(Problem::CaFile)?,
        None => SYSTEM
            .iter()
            .find_map(|path| read(path).ok())
            .ok_or(Problem::NoSystemAuthorities)?,
    };
    let found: Vec<Certificate<'static>> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    match (found.is_empty(), file) {
        (false, _) => Ok(found),
        (true, Some(_)) => Err(Problem::NoAuthority),
        (true, None) => Err(Problem::NoSystemAuthorities),
    }
}

/// Read at each fetch: such tokens are renewed in place.
fn token(path: &str) -> Result<Zeroizing<String>, Problem> {
    let bytes = Zeroizing::new(read(path).map_err(Problem::TokenFile)?);
    let text = std::str::from_utf8(&bytes).unwrap_or_default().trim();
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    match is_plain {
        true => Ok(Zeroizing::new(text.to_owned())),
        false => Err(Problem::NoToken),
    }
}

fn read(path: &str) -> Result<Vec<u8>, File> {
    let file = Opened::open(path)?;
    // Not a device or a pipe, which never end.
    if !file.metadata()?.is_file() {
        return Err(File::Other);
    }
    let mut bytes = Vec::new();
    file.take(MOST_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    match u64::try_from(bytes.len()) {
        Ok(length) if length <= MOST_FILE_BYTES => Ok(bytes),
        _ => Err(File::Large),
    }
}

/// In words of ours.
fn problem(error: ureq::Error) -> Problem {
    use ureq::Error;
    match error {
        Error::Timeout(_) => Problem::Time,
        Error::HostNotFound => Problem::Lookup,
        Error::BodyExceedsLimit(_) | Error::LargeResponseHeader(..) => Problem::Size,
        Error::Rustls(error) => of_tls(&error),
        Error::Tls(_) | Error::Pem(_) => Problem::Tls,
        Error::ConnectionFailed => Problem::Connection,
        Error::ConnectProxyFailed(_) | Error::InvalidProxyUrl => Problem::Proxy,
        Error::Protocol(_) | Error::Http(_) => Problem::Http,
        Error::Io(error) => of_io(&error),
        _ => Problem::Connection,
    }
}

fn of_io(error: &io::Error) -> Problem {
    let inner = error.get_ref();
    if let Some(error) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return of_tls(error);
    }
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Problem::Time,
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe => Problem::Cut,
        _ => Problem::Connection,
    }
}

fn of_tls(error: &rustls::Error) -> Problem {
    let rustls::Error::InvalidCertificate(error) = error else {
        return Problem::Tls;
    };
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => Problem::Authority,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Problem::OtherHost
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => Problem::Expired,
        _ => Problem::Certificate,
    }
}
