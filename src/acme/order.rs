//! How is a certificate obtained? RFC 8555 §7.4.

use std::time::Duration;

use instant_acme::{Account, AuthorizationStatus, Identifier, NewOrder, Order, OrderStatus, RetryPolicy};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use super::account::insist;
use super::failure::{Failure, in_words};
use super::proof::{Proof, Prover, Shown, Way};

/// How an order is looked after until the authority is done with it. Looking takes some seconds, issuing too.
const PATIENCE: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(300)).backoff(1.5).timeout(Duration::from_secs(90));

/// Has a certificate issued for `host`, which is proven in this `way`, or in the other one where the authority does not
/// offer it. The private key and the chain, in PEM; and the way.
///
/// # Errors
///
/// The authority does not issue one.
pub(super) async fn obtain(
    account: &Account,
    host: &str,
    way: Way,
    prover: Prover<'_>,
) -> Result<(String, Way), Failure> {
    let identifiers = [Identifier::Dns(host.to_owned())];
    let mut order = insist!(account.new_order(&NewOrder::new(&identifiers)).await)?;
    let mut way = way;
    if order.state().status == OrderStatus::Pending {
        let on_show = prove(&mut order, host, way, prover).await?;
        way = on_show.by;
        let status = insist!(order.poll_ready(&PATIENCE).await);
        // Shown for no longer than it is looked for.
        prover.end(on_show.shown).await;
        if !matches!(status, Ok(OrderStatus::Ready)) {
            let said = complaint(&mut order).await;
            return Err(match (status, said) {
                (Err(error), None) => error.into(),
                (_, said) => {
                    let said = said.unwrap_or_else(|| "it does not say why".to_owned());
                    Failure::Unproven { by: way.token(), said, has_other: on_show.has_other }
                }
            });
        }
    }
    // A new key each time: an old one may have been seen since.
    let key = KeyPair::generate()?;
    let mut parameters = CertificateParams::new([host.to_owned()])?;
    parameters.distinguished_name = DistinguishedName::new();
    let request = parameters.serialize_request(&key)?;
    insist!(order.finalize_csr(request.der()).await)?;
    let chain = insist!(order.poll_certificate(&PATIENCE).await)?;
    Ok((key.serialize_pem() + &chain, way))
}

/// What the authority was told to look for.
struct OnShow {
    shown: Shown,
    by: Way,
    /// Whether it would have looked in the other way, too.
    has_other: bool,
}

/// Shows the authority what it looks for, and tells it so.
async fn prove(order: &mut Order, host: &str, way: Way, prover: Prover<'_>) -> Result<OnShow, Failure> {
    let mut on_show = None;
    let mut refused = None;
    insist!(
        async {
            // Before it is shown anew: its end would be that of the new one, too.
            drop(on_show.take());
            let mut authorizations = order.authorizations();
            while let Some(authorization) = authorizations.next().await {
                let mut authorization = authorization?;
                if authorization.status != AuthorizationStatus::Pending {
                    continue;
                }
                let offers = |way: Way| authorization.challenges.iter().any(|it| it.r#type == way.challenge());
                let (by, has_other) = if offers(way) { (way, offers(way.other())) } else { (way.other(), false) };
                let Some(mut challenge) = authorization.challenge(by.challenge()) else { continue };
                let proof = Proof {
                    host: host.to_owned(),
                    token: challenge.token.clone(),
                    key_authorization: challenge.key_authorization().as_str().to_owned(),
                };
                match prover.show(&proof).await {
                    Ok(shown) => on_show = Some(OnShow { shown, by, has_other }),
                    Err(error) => {
                        refused = Some(error);
                        return Ok(());
                    }
                }
                challenge.set_ready().await?;
            }
            Ok::<_, instant_acme::Error>(())
        }
        .await
    )?;
    match refused {
        Some(error) => Err(error.into()),
        None => on_show.ok_or(Failure::NothingOffered),
    }
}

/// What the authority has against the proof; `None`: it has not said that it failed.
async fn complaint(order: &mut Order) -> Option<String> {
    let mut said = None;
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        _ = insist!(authorization.refresh().await.map(|_| ()));
        if authorization.status == AuthorizationStatus::Invalid {
            let errors = authorization.challenges.iter().filter_map(|it| it.error.as_ref()).map(in_words);
            said = Some(errors.collect::<Vec<_>>().join("; ")).filter(|said| !said.is_empty());
        }
    }
    said
}
