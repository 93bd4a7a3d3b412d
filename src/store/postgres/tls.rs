//! TLS to PostgreSQL, over the program's one stack (rustls, ring), as far as `sslmode` asks for it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;

/// What an address says about TLS.
pub(super) struct Wish {
    pub(super) mode: SslMode,
    /// Whether the server has to show who it is. As with libpq, `require` alone does not ask for that: databases in a private
    /// network mostly have certificates that nobody else knows.
    verified: bool,
    /// A file with the certificates to trust, instead of Mozilla's.
    roots: Option<String>,
}

/// Takes what `sslmode` and `sslrootcert` say out of an address: the client knows fewer modes than libpq.
///
/// # Errors
/// One sentence.
pub(super) fn wish(address: &str) -> Result<(String, Wish), String> {
    let mut wish = Wish { mode: SslMode::Prefer, verified: false, roots: None };
    let mut take = |pair: &str| -> Result<bool, String> {
        let Some((name, value)) = pair.split_once('=') else { return Ok(false) };
        let value = percent_encoding::percent_decode_str(value.trim_matches('\'')).decode_utf8_lossy().into_owned();
        match name {
            "sslmode" => (wish.mode, wish.verified) = mode(&value)?,
            "sslrootcert" if value == "system" => wish.verified = true,
            "sslrootcert" => wish.roots = Some(value),
            _ => return Ok(false),
        }
        Ok(true)
    };
    let (start, pairs, joint) = match address.split_once("://") {
        Some(_) => match address.split_once('?') {
            Some((start, pairs)) => (format!("{start}?"), pairs, '&'),
            None => (address.to_owned(), "", '&'),
        },
        None => (String::new(), address, ' '),
    };
    let mut rest = Vec::new();
    for pair in pairs.split(joint) {
        if !take(pair)? {
            rest.push(pair);
        }
    }
    // Whoever names certificates to trust wants them looked at, whatever else he says.
    wish.verified |= wish.roots.is_some();
    Ok((format!("{start}{}", rest.join(&joint.to_string())), wish))
}

fn mode(name: &str) -> Result<(SslMode, bool), String> {
    Ok(match name {
        "disable" => (SslMode::Disable, false),
        "allow" | "prefer" => (SslMode::Prefer, false),
        "require" => (SslMode::Require, false),
        "verify-ca" | "verify-full" => (SslMode::Require, true),
        _ => return Err("its sslmode should be disable, prefer, require or verify-full".into()),
    })
}

/// Makes the sessions.
#[derive(Clone)]
pub(super) struct Tls(Arc<ClientConfig>);

impl Tls {
    /// # Errors
    /// One sentence.
    pub(super) fn new(wish: &Wish) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be set up: {error}"))?;
        let config = if wish.verified {
            builder.with_root_certificates(roots(wish.roots.as_deref())?).with_no_client_auth()
        } else {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider))).with_no_client_auth()
        };
        Ok(Self(Arc::new(config)))
    }

    pub(super) fn direct(self) -> Self {
        let mut config = ClientConfig::clone(&self.0);
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        Self(Arc::new(config))
    }
}

fn roots(file: Option<&str>) -> Result<RootCertStore, String> {
    let Some(file) = file else { return Ok(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }) };
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_file_iter(file).map_err(|_| format!("its sslrootcert {file} cannot be read"))?;
    for certificate in certificates {
        let certificate =
            certificate.map_err(|_| format!("its sslrootcert {file} has something else than certificates"))?;
        roots.add(certificate).map_err(|_| format!("its sslrootcert {file} has a certificate that is not valid"))?;
    }
    if roots.is_empty() {
        return Err(format!("its sslrootcert {file} has no certificate"));
    }
    Ok(roots)
}

/// Encrypts, and leaves open to whom.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> MakeTlsConnect<S> for Tls {
    type Stream = Session<S>;
    type TlsConnect = Handshake;
    type Error = io::Error;

    fn make_tls_connect(&mut self, domain: &str) -> io::Result<Handshake> {
        let name = ServerName::try_from(domain.to_owned()).map_err(io::Error::other)?;
        Ok(Handshake { connector: TlsConnector::from(Arc::clone(&self.0)), name })
    }
}

/// A session that is to begin.
pub(super) struct Handshake {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> TlsConnect<S> for Handshake {
    type Stream = Session<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Session<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move { self.connector.connect(self.name, stream).await.map(Session) })
    }
}

/// A session.
pub(super) struct Session<S>(tokio_rustls::client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Session<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Session<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Session<S> {
    fn channel_binding(&self) -> ChannelBinding {
        let certificate = self.0.get_ref().1.peer_certificates().and_then(<[_]>::first);
        match certificate.and_then(|certificate| end_point(certificate)) {
            Some(hash) => ChannelBinding::tls_server_end_point(hash),
            None => ChannelBinding::none(),
        }
    }
}

/// The hash of a certificate that binds a log-in to the session (RFC 5929, section 4.1): with the function that it is signed
/// with, and SHA-256 in place of older ones.
fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    // Object identifiers of the signatures that public authorities make: RSA and ECDSA, with three hashes each.
    const RSA: [u8; 8] = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    const ECDSA: [u8; 7] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03];
    let (outer, _) = element(certificate)?;
    let (_, rest) = element(outer)?;
    let (algorithm, _) = element(rest)?;
    let (identifier, _) = element(algorithm)?;
    // The last byte names the hash.
    let hash = match (identifier.strip_prefix(&RSA), identifier.strip_prefix(&ECDSA)) {
        (Some([4 | 5 | 11]), _) | (_, Some([2])) => &ring::digest::SHA256,
        (Some([12]), _) | (_, Some([3])) => &ring::digest::SHA384,
        (Some([13]), _) | (_, Some([4])) => &ring::digest::SHA512,
        _ => return None,
    };
    Some(ring::digest::digest(hash, certificate).as_ref().to_vec())
}

/// The content of the first element of DER, and what comes after it.
fn element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.get(1..)?.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_address_says_of_tls_is_taken_out_of_it() {
        for (address, rest, mode, verified, roots) in [
            ("postgres://u:p@h/d", "postgres://u:p@h/d", SslMode::Prefer, false, None),
            ("postgres://h/d?sslmode=disable", "postgres://h/d?", SslMode::Disable, false, None),
            ("postgres://h/d?a=b&sslmode=require&c=d", "postgres://h/d?a=b&c=d", SslMode::Require, false, None),
            ("postgres://h/d?sslmode=verify-full", "postgres://h/d?", SslMode::Require, true, None),
            (
                "postgres://h?sslmode=require&sslrootcert=%2Fa.pem",
                "postgres://h?",
                SslMode::Require,
                true,
                Some("/a.pem"),
            ),
            ("host=h sslmode=verify-ca user=u", "host=h user=u", SslMode::Require, true, None),
            ("host=h sslmode=require sslrootcert=system", "host=h", SslMode::Require, true, None),
        ] {
            let (text, wish) = wish(address).unwrap();
            assert_eq!((text.as_str(), wish.mode, wish.verified, wish.roots.as_deref()), (rest, mode, verified, roots));
        }
        assert!(wish("postgres://u:p@h/d?sslmode=of-course").is_err_and(|why| why.contains("verify-full")));
    }

    #[test]
    fn a_certificate_is_hashed_with_what_it_is_signed_with() {
        let certificate = |identifier: &[u8]| {
            let length = |content: &[u8]| u8::try_from(content.len()).unwrap();
            let algorithm = [&[0x06, length(identifier)], identifier, &[0x05, 0x00]].concat();
            let inner =
                [&[0x30, 0x81, 0x02, 1, 2, 0x30, length(&algorithm)], algorithm.as_slice(), &[0x03, 0x01, 0]].concat();
            [&[0x30, 0x82, 0x00, length(&inner)], inner.as_slice()].concat()
        };
        let rsa = |last| [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, last];
        let ecdsa = |last| [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, last];
        for (identifier, length) in [
            (rsa(5).as_slice(), Some(32)),
            (rsa(11).as_slice(), Some(32)),
            (rsa(12).as_slice(), Some(48)),
            (rsa(13).as_slice(), Some(64)),
            (ecdsa(2).as_slice(), Some(32)),
            (ecdsa(3).as_slice(), Some(48)),
            (ecdsa(4).as_slice(), Some(64)),
            (&[0x2b, 0x65, 0x70], None),
        ] {
            let certificate = certificate(identifier);
            assert_eq!(end_point(&certificate).map(|hash| hash.len()), length, "{identifier:x?}");
            for end in 0..certificate.len() - 3 {
                assert_eq!(end_point(&certificate[..end]), None);
            }
        }
    }
}
