//! A client of the remote side, over TLS or without, that may also behave badly.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use crate::support::http::Answer;

/// Longest wait for anything here; reaching it is a failure, not a pause.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

/// One connection.
pub(crate) struct Client(BufReader<Box<dyn Stream>>);

/// Returns what a client needs that trusts the certificate in a PEM file and nothing else.
pub(crate) fn trusting(
    certificate: &Path,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(certificate).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

pub(crate) fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Connects from another loopback address than the usual one.
fn tcp_from(source: IpAddr, address: SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let connected = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind((source, 0).into())?;
        socket.connect(address).await?.into_std()
    });
    let stream = connected.unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

impl Client {
    pub(crate) fn plain_from(source: IpAddr, address: SocketAddr) -> Self {
        Self(BufReader::new(Box::new(tcp_from(source, address))))
    }

    pub(crate) fn plain(address: SocketAddr) -> Self {
        Self(BufReader::new(Box::new(tcp(address))))
    }

    pub(crate) fn tls(address: SocketAddr, certificate: &Path) -> Self {
        let config = trusting(certificate, tokio_rustls::rustls::DEFAULT_VERSIONS);
        Self::with(address, config, "localhost").unwrap()
    }

    /// Connects and shakes hands; an error is why the server is not trusted, or does not answer.
    pub(crate) fn with(address: SocketAddr, config: Arc<ClientConfig>, name: &str) -> std::io::Result<Self> {
        let name = name.to_owned().try_into().unwrap();
        let mut connection = ClientConnection::new(config, name).map_err(std::io::Error::other)?;
        let mut stream = tcp(address);
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        Ok(Self(BufReader::new(Box::new(StreamOwned::new(connection, stream)))))
    }

    /// Sends bytes; whether the server still takes them shows in its answer.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let stream = self.0.get_mut();
        let _ = stream.write_all(bytes.as_ref()).and_then(|()| stream.flush());
    }

    /// Reads one answer with a body; `None` when the connection ends before it.
    pub(crate) fn answer(&mut self) -> Option<Answer> {
        let mut answer = self.head()?;
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        answer.body = vec![0; length];
        self.0.read_exact(&mut answer.body).ok()?;
        Some(answer)
    }

    /// Reads status and headers of one answer.
    pub(crate) fn head(&mut self) -> Option<Answer> {
        let mut line = String::new();
        self.0.read_line(&mut line).ok().filter(|count| *count > 0)?;
        let status = line.split(' ').nth(1)?.parse().unwrap();
        let mut headers = Vec::new();
        loop {
            line.clear();
            self.0.read_line(&mut line).ok().filter(|count| *count > 0)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.push((name.to_lowercase(), value.trim().to_owned()));
        }
        Some(Answer { status, headers, body: Vec::new() })
    }

    #[track_caller]
    pub(crate) fn ask(&mut self, method: &str, path: &str, token: Option<&str>, body: &[u8]) -> Answer {
        self.send(request(method, path, token, body));
        self.answer().expect("an answer")
    }

    /// Waits for the server to end the connection; fails when it sends anything first.
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0]), Ok(0) | Err(_))
    }
}

/// Returns the bytes of a request.
pub(crate) fn request(method: &str, path: &str, token: Option<&str>, body: &[u8]) -> Vec<u8> {
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let length = if method == "POST" || !body.is_empty() {
        format!("Content-Length: {}\r\n", body.len())
    } else {
        String::new()
    };
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{token}{length}\r\n");
    [head.as_bytes(), body].concat()
}
