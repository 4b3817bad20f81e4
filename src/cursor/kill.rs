//! Ending queries that nobody waits for any more.

/// Kills a query when dropped while armed: a closed connection alone does not stop one that still sorts.
pub(super) struct Kill {
    client: clickhouse::Client,
    query_id: String,
    armed: bool,
}

impl Kill {
    /// Armed from the beginning.
    pub(super) fn new(client: clickhouse::Client, query_id: String) -> Self {
        Self {
            client,
            query_id,
            armed: true,
        }
    }

    /// Says that the query has ended by itself.
    pub(super) fn disarm(&mut self) {
        self.armed = false;
    }
}

impl Drop for Kill {
    fn drop(&mut self) {
        if !self.armed {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let kill = self
            .client
            .query_raw("KILL QUERY WHERE query_id = {query_id:String} ASYNC")
            .param("query_id", self.query_id.as_str());
        let query_id = std::mem::take(&mut self.query_id);
        runtime.spawn(async move {
            if let Err(error) = kill.execute().await {
                tracing::warn!(query_id, %error, "the query could not be killed");
            }
        });
    }
}
