//! A push by SRT: a call to somebody's port.

use std::time::Duration;

use ::srt::{Call, CallError, Driver, KeyLength, Passphrase, connect};
use contract::push::PushAddress;
use tokio::net::lookup_host;
use tokio::time::timeout;

use super::{CONNECT_MAX, End, STALL_MAX};
use crate::GatewayError;
use crate::channel::Reader;
use crate::srt::Sender;

/// How often it is looked whether anything is taken.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Whom to call, and how.
pub(super) struct Caller {
    driver: Driver,
    host: String,
    port: u16,
    call: Call,
}

impl Caller {
    pub(super) fn new(driver: Driver, address: &PushAddress) -> Result<Self, GatewayError> {
        let options = &address.srt;
        let passphrase = options.passphrase.as_deref().map(Passphrase::new);
        let key_length = options.key_bytes.and_then(KeyLength::from_bytes);
        Ok(Self {
            driver,
            host: address.host.clone(),
            port: address.port,
            call: Call {
                stream_id: options.stream_id.clone(),
                passphrase: passphrase.transpose()?,
                key_length: key_length.unwrap_or_default(),
                latency: options.latency,
                ..Call::default()
            },
        })
    }

    /// One connection.
    pub(super) async fn push(
        &self,
        reader: &mut Reader,
        on_live: &mut impl FnMut(&mut Reader),
    ) -> End {
        let found = timeout(CONNECT_MAX, lookup_host((self.host.as_str(), self.port))).await;
        let address = match found {
            Ok(Ok(mut addresses)) => addresses.next(),
            Ok(Err(_)) | Err(_) => None,
        };
        let Some(address) = address else {
            return End::Lost("the name of the host is not known".to_owned());
        };
        let connection = match connect(&self.driver, address, &self.call).await {
            Ok(connection) => connection,
            Err(
                error
                @ (CallError::Passphrase | CallError::Refused(_) | CallError::Rejected { .. }),
            ) => {
                return End::Refused(error.to_string());
            }
            Err(error) => return End::Lost(error.to_string()),
        };
        on_live(reader);
        reader.skip_to_live();
        let mut sender = Sender::new(&connection);
        let stalled = async {
            let mut since = None;
            loop {
                tokio::time::sleep(LOOK_INTERVAL).await;
                // The oldest that is not acknowledged.
                let waits = connection.backlog().span > LOOK_INTERVAL;
                let since = since.get_or_insert_with(tokio::time::Instant::now);
                if !waits {
                    *since = tokio::time::Instant::now();
                } else if since.elapsed() > STALL_MAX {
                    return;
                }
            }
        };
        tokio::select! {
            () = connection.broken() => End::Lost("the connection is gone".to_owned()),
            () = sender.send_all(reader) => match connection.is_broken() {
                true => End::Lost("the connection is gone".to_owned()),
                false => End::Stream,
            },
            () = stalled => End::Lost("it takes nothing".to_owned()),
        }
    }
}
