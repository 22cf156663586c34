//! As whom do we speak to an authority?

use instant_acme::{Account, NewAccount};

use super::authority::Caller;
use super::failure::Failure;
use super::store::Store;
use crate::config::settings::AcmeAuthority;

/// Says whether the authority has refused a nonce, which it may do for no reason of ours (RFC 8555 §6.5): the library asks
/// three times, and what is asked here may then be asked again.
macro_rules! insist {
    ($ask:expr) => {{
        let mut left = 8;
        loop {
            match $ask {
                Err(error) if left > 0 && $crate::acme::failure::is_problem(&error, "badNonce") => left -= 1,
                answer => break answer,
            }
        }
    }};
}
pub(super) use insist;

/// The account that is kept, or a new one.
///
/// # Errors
///
/// The authority gives none, or it cannot be kept.
pub(super) async fn account(authority: &AcmeAuthority, caller: &Caller, store: &Store) -> Result<Account, Failure> {
    let builder = || Account::builder_with_http(Box::new(caller.clone()));
    let asked = store.clone();
    let kept = tokio::task::spawn_blocking(move || asked.prepare().map(|()| asked.account()));
    let kept = kept.await.expect("reading a file does not panic").map_err(Failure::Folder)?;
    if let Some(kept) = kept {
        return Ok(builder().from_credentials(kept).await?);
    }
    let contact = authority.email.as_ref().map(|email| format!("mailto:{email}"));
    let contact: Vec<_> = contact.as_deref().into_iter().collect();
    // Whoever writes the table agrees: proxy.toml says so.
    let wanted = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let directory = &authority.directory;
    let (account, credentials) = insist!(builder().create(&wanted, directory.clone(), None).await)?;
    tracing::info!("an account was made at {directory}");
    let store = store.clone();
    // Before it is used: an account that cannot be kept would be made anew at each start.
    let kept = tokio::task::spawn_blocking(move || store.keep_account(&credentials));
    kept.await.expect("writing a file does not panic").map_err(Failure::Folder)?;
    Ok(account)
}
