//! A certificate authority made on the spot, for simulated vendors that speak TLS; and what a simulated caller trusts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What the authority's certificate is called in its folder.
const FILE: &str = "authority.pem";

/// When a certificate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// Now.
    Current,
    /// It did, years ago.
    Expired,
}

/// A certificate authority. Its key is nowhere but here.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

/// A certificate and its key, as the files of a server hold them.
#[derive(Clone)]
pub struct Issued {
    /// The chain, in PEM.
    pub certificate_pem: String,
    /// The key, in PEM (PKCS #8).
    pub key_pem: String,
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").finish_non_exhaustive()
    }
}

/// TLS of the simulated vendors.
#[derive(Clone, Debug)]
pub struct VendorsTls {
    /// What they show.
    pub server: Arc<rustls::ServerConfig>,
    /// The file with the authority that a server has to trust, for `TLS_EXTRA_CA`.
    pub authority: PathBuf,
}

/// PEM of one thing (RFC 7468): 64 characters a line.
fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for (n, c) in text.chars().enumerate() {
        if n > 0 && n.is_multiple_of(64) {
            pem.push('\n');
        }
        pem.push(c);
    }
    pem + &format!("\n-----END {label}-----\n")
}

impl Authority {
    /// Makes one that nobody trusts yet.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new() -> io::Result<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // Two of them are not taken for one another.
        params
            .distinguished_name
            .push(DnType::CommonName, format!("Simulated authority {:08x}", rand::random::<u32>()));
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate = params.self_signed(&key).map_err(io::Error::other)?;
        Ok(Self { pem: pem("CERTIFICATE", certificate.der()), issuer: Issuer::new(params, key) })
    }

    /// Its own certificate.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Writes its own certificate into a folder and tells the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_to(&self, folder: &Path) -> io::Result<PathBuf> {
        let path = folder.join(FILE);
        std::fs::write(&path, &self.pem)?;
        Ok(path)
    }

    /// Issues a certificate for host names and IP addresses.
    ///
    /// # Errors
    /// When a name cannot be one.
    pub fn issue(&self, names: &[&str], validity: Validity) -> io::Result<Issued> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).map_err(io::Error::other)?;
        if validity == Validity::Expired {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        }
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(io::Error::other)?;
        Ok(Issued {
            certificate_pem: pem("CERTIFICATE", certificate.der()),
            key_pem: pem("PRIVATE KEY", &key.serialize_der()),
        })
    }

    /// What vendors on loopback need; the authority's certificate is written into `folder`.
    ///
    /// # Errors
    /// When the certificate cannot be made or the file not written.
    pub fn for_loopback(&self, folder: &Path) -> io::Result<VendorsTls> {
        let issued = self.issue(&["127.0.0.1", "localhost"], Validity::Current)?;
        Ok(VendorsTls { server: issued.server()?, authority: self.write_to(folder)? })
    }
}

impl Issued {
    /// A server's configuration that shows it.
    ///
    /// # Errors
    /// When the TLS library refuses it.
    pub fn server(&self) -> io::Result<Arc<rustls::ServerConfig>> {
        let chain = CertificateDer::pem_slice_iter(self.certificate_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(io::Error::other)?;
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).map_err(io::Error::other)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(io::Error::other)?;
        Ok(Arc::new(config))
    }
}

/// Whom a simulated caller trusts.
#[derive(Clone, Debug)]
pub struct Trust(Arc<rustls::ClientConfig>);

impl Default for Trust {
    /// The compiled-in roots.
    fn default() -> Self {
        Self::in_roots(roots())
    }
}

impl Trust {
    /// The compiled-in roots, and the authorities in a PEM file.
    ///
    /// # Errors
    /// When the file cannot be read, or is no PEM.
    pub fn with(authority: &Path) -> io::Result<Self> {
        let mut roots = roots();
        for certificate in CertificateDer::pem_file_iter(authority).map_err(io::Error::other)? {
            roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
        }
        Ok(Self::in_roots(roots))
    }

    fn in_roots(roots: rustls::RootCertStore) -> Self {
        // Fails only if another provider is installed already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self(Arc::new(config))
    }

    /// For a TLS connector.
    #[must_use]
    pub fn config(&self) -> Arc<rustls::ClientConfig> {
        Arc::clone(&self.0)
    }
}

fn roots() -> rustls::RootCertStore {
    let mut roots = rustls::RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_issued_is_a_chain_and_a_key_that_belong_together() {
        let authority = Authority::new().unwrap();
        for validity in [Validity::Current, Validity::Expired] {
            let issued = authority.issue(&["127.0.0.1", "h.example"], validity).unwrap();
            assert!(issued.server().is_ok());
            assert!(issued.key_pem.starts_with("-----BEGIN PRIVATE KEY-----\n"));
            assert!(
                issued.certificate_pem.lines().all(|line| line.len() <= 64),
                "{}",
                issued.certificate_pem
            );
        }
        assert!(authority.issue(&["no name"], Validity::Current).is_ok());
        assert!(authority.issue(&["ä"], Validity::Current).is_err());
        assert!(!format!("{authority:?}").contains("BEGIN"));
    }

    #[test]
    fn a_file_without_pem_is_trusted_for_nothing() {
        assert!(Trust::with(Path::new("/nonexistent/ca.pem")).is_err());
    }
}
