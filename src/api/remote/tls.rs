//! Certificate and key: the administrator's, or one of our own that is made when it is needed and kept.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use super::Security;
use super::tokens::Folder;
use crate::api::Error;
use crate::telemetry::words;

/// The certificate of our own, which clients may be given to trust.
pub const CERTIFICATE: &str = "certificate.pem";
/// Its key.
pub const KEY: &str = "key.pem";
/// What is spoken over TLS.
const PROTOCOL: &[u8] = b"http/1.1";
/// Largest certificate or key file that is read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Where the certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certificate {
    /// The administrator's own: chain and key in PEM files.
    Files {
        /// The chain, the service's certificate first.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
    },
    /// One that signs itself, for these names and addresses besides the machine's own.
    SelfSigned {
        /// Names and addresses by which clients reach the service.
        names: Vec<String>,
    },
}

/// What connections are encrypted with.
#[derive(Debug, Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
    /// SHA-256 of the certificate, as `openssl x509 -fingerprint -sha256` prints it.
    fingerprint: String,
}

/// The security of new connections, which can be read again while others are open.
#[derive(Debug)]
pub struct InUse {
    security: Security,
    folder: Folder,
    own_names: Vec<String>,
    /// `None` without TLS.
    tls: Mutex<Option<Tls>>,
}

impl InUse {
    /// Reads certificate and key, for a service that listens on this address.
    pub(super) fn load(security: Security, folder: Folder, address: IpAddr) -> Result<Self, Error> {
        let in_use = Self { security, folder, own_names: own_names(address), tls: Mutex::default() };
        in_use.take(in_use.read()?);
        Ok(in_use)
    }

    /// Reads certificate and key again and changes nothing; `None` without TLS.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn read(&self) -> Result<Option<Tls>, Error> {
        match &self.security {
            Security::Plain => Ok(None),
            Security::Tls(source) => load(source, &self.folder, &self.own_names).map(Some),
        }
    }

    /// Gives connections from now on what was read.
    pub fn take(&self, tls: Option<Tls>) {
        *self.tls.lock().unwrap_or_else(PoisonError::into_inner) = tls;
    }

    /// Returns SHA-256 of the certificate; `None` without TLS.
    pub fn fingerprint(&self) -> Option<String> {
        let tls = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        tls.as_ref().map(|tls| tls.fingerprint.clone())
    }

    pub(super) fn acceptor(&self) -> Option<TlsAcceptor> {
        let tls = self.tls.lock().unwrap_or_else(PoisonError::into_inner);
        tls.as_ref().map(|tls| TlsAcceptor::from(Arc::clone(&tls.config)))
    }
}

/// Reads the certificate, and makes it first if it is to be ours and is not there.
fn load(source: &Certificate, folder: &Folder, own_names: &[String]) -> Result<Tls, Error> {
    let (certificate, key) = match source {
        Certificate::Files { certificate, key } => (certificate.clone(), key.clone()),
        Certificate::SelfSigned { names } => {
            let paths = (folder.path(CERTIFICATE), folder.path(KEY));
            if !paths.0.exists() || !paths.1.exists() {
                make(folder, own_names.iter().chain(names).cloned().collect())?;
            }
            paths
        }
    };
    let wrong = |path: &Path, what: String| Error::RemoteContent { path: path.to_owned(), what };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&read(&certificate)?)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(&certificate, format!("is no PEM certificate: {error}")))?;
    let first = chain.first().ok_or_else(|| wrong(&certificate, "holds no PEM certificate".to_owned()))?;
    let fingerprint = fingerprint(first);
    let private = PrivateKeyDer::from_pem_slice(&read(&key)?)
        .map_err(|error| wrong(&key, format!("holds no PEM private key: {error}")))?;
    if fs::metadata(&key).is_ok_and(|found| found.permissions().mode() & 0o007 != 0) {
        tracing::warn!(path = %key.display(), "{}: {}", words::KEY_OPEN, key.display());
    }
    // The provider is named, so that nothing depends on which one the whole process has.
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
        .map_err(|error: rustls::Error| wrong(&certificate, format!("does not go with its key: {error}")))?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Tls { config: Arc::new(config), fingerprint })
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::RemoteFile { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    io::Read::read_to_end(&mut io::Read::take(file, FILE_BYTES_MAX + 1), &mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let what = format!("is larger than {FILE_BYTES_MAX} bytes");
        return Err(Error::RemoteContent { path: path.to_owned(), what });
    }
    Ok(bytes)
}

/// Makes key and certificate. It ends with the year 9999, which RFC 5280 has for "no date is known": nobody trusts it for
/// anything but being itself, so an end would only be an outage.
fn make(folder: &Folder, names: Vec<String>) -> Result<(), Error> {
    let path = folder.path(CERTIFICATE);
    let wrong = |error: rcgen::Error| {
        let what = format!("cannot be made: {error}; remote_names may hold what is no name");
        Error::RemoteContent { path: path.clone(), what }
    };
    let mut parameters = rcgen::CertificateParams::new(names).map_err(wrong)?;
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "knhk");
    parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(9999, 12, 31);
    parameters.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let key = rcgen::KeyPair::generate().map_err(wrong)?;
    let certificate = parameters.self_signed(&key).map_err(wrong)?;
    folder.make()?;
    folder.write(KEY, key.serialize_pem().as_bytes())?;
    folder.write(CERTIFICATE, certificate.pem().as_bytes())?;
    tracing::info!(path = %path.display(), "a certificate that signs itself was made for the remote side");
    Ok(())
}

fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let hash = ::ring::digest::digest(&::ring::digest::SHA256, certificate);
    let pairs: Vec<String> = hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    pairs.join(":")
}

/// Returns the names that a certificate of our own has in any case: the machine's, and the address listened on.
fn own_names(address: IpAddr) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
    let is_name =
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
    if is_name && host != "localhost" {
        names.push(host);
    }
    if !address.is_unspecified() && !address.is_loopback() {
        names.push(address.to_string());
    }
    names
}
