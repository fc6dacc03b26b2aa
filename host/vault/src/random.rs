//! Randomness, all of it from the operating system.
//!
//! Invariant: nothing secret comes from anywhere else; there is no seedable generator here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroize;

use crate::secret::Secret;

/// `N` random bytes.
///
/// # Panics
/// Where the operating system has no randomness to give. Nothing a guest, a client or a file does
/// can bring that about, and going on without it would be worse.
#[expect(clippy::expect_used, reason = "no input reaches this; without randomness nothing here is safe")]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// A random 256-bit key.
pub fn random_key() -> Secret {
    Secret::from_array(random::<32>())
}

/// `{prefix}_` and 256 random bits in URL-safe base64: an API key, a session token, an OAuth state.
pub fn random_token(prefix: &str) -> String {
    let mut bytes = random::<32>();
    let token = format!("{prefix}_{}", URL_SAFE_NO_PAD.encode(bytes));
    bytes.zeroize();
    token
}

/// Whether a text looks like one that [`random_token`] made.
pub fn is_random_token(prefix: &str, text: &str) -> bool {
    // 256 bits in base64, without padding.
    const LENGTH: usize = 43;
    let bits = text.strip_prefix(prefix).and_then(|text| text.strip_prefix('_')).unwrap_or_default();
    bits.len() == LENGTH && bits.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_carry_their_prefix_and_never_repeat() {
        let (one, two) = (random_token("bhk"), random_token("bhk"));
        assert_ne!(one, two);
        assert!(one.starts_with("bhk_"));
        assert_eq!(one.len(), "bhk_".len() + 43);
        assert!(one.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'));
    }

    /// Mutations: `is_random_token`, without any of its parts.
    #[test]
    fn a_token_is_known_by_its_shape() {
        let token = random_token("br");
        assert!(is_random_token("br", &token));
        let bits = token.trim_start_matches("br_");
        for other in ["", "br", "br_", bits, &format!("cs_{bits}"), &format!("br{bits}_"), &format!("{token}a")] {
            assert!(!is_random_token("br", other), "{other}");
        }
        for letter in [" ", "\"", ";", "=", "+", "/", "é"] {
            let other = format!("br_{letter}{}", "a".repeat(43 - letter.len()));
            assert!(!is_random_token("br", &other), "{other}");
        }
    }

    #[test]
    fn random_bytes_differ_each_time() {
        assert_ne!(random::<32>(), random::<32>());
    }
}
