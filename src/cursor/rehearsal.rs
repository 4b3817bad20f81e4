//! An export of nothing: every statement that an export cannot do without, as it is sent, over a day without events.

use clickhouse::error::Error as ClientError;

use super::clickhouse::wire;
use super::quarters::is_counted;
use super::{Server, failure};
use crate::error::Result;
use crate::pushdown::{self, Counting, Fence, Form, Parts, Range, Slots, Statement};
use crate::request::ExportRequest;

/// The forms that rows are asked for in, for either wire and after a suspicion.
const FORMS: [Form; 3] = [
    Form::Packed(Parts::Unknown),
    Form::Columns(Parts::Unknown),
    Form::Hex,
];

impl Server {
    /// Sends the statements of a request that has no events to the first replica, under an export's limits and settings. What
    /// ClickHouse then says quotes no event, so the error repeats it.
    ///
    /// # Errors
    ///
    /// Whatever an export would fail with.
    pub(crate) async fn rehearse(&self, request: &ExportRequest, query_id: &str) -> Result<()> {
        let replica = self.replicas.first();
        self.check_table(&replica).await?;
        let types = replica.text_types();
        let has_parts = replica.has_parts();
        let fence = Fence::at(0);
        let whole = Range::whole(&request.window);
        let slots = Slots::of(&request.window);
        let mut statements = vec![
            (
                pushdown::proof(request, &self.table, fence, whole),
                "RowBinary",
            ),
            (
                pushdown::slots(request, &self.table, fence, slots, has_parts),
                "RowBinary",
            ),
        ];
        let kept = is_counted(&replica, request);
        let counting = Counting::of(&request.window, std::iter::empty(), kept);
        statements.push((
            pushdown::quarters(request, &self.table, fence, counting, types),
            "RowBinary",
        ));
        for form in FORMS {
            let rows = pushdown::rows(request, &self.table, fence, whole, form, types);
            statements.push((rows, wire(form).format()));
        }
        for (number, (statement, format)) in statements.into_iter().enumerate() {
            let id = format!("{query_id}-{number}");
            let answer = self.drain(&replica, statement, format, &id);
            failure::in_time(answer, replica.url()).await?;
        }
        Ok(())
    }

    async fn drain(
        &self,
        replica: &super::Replica,
        statement: Statement,
        format: &str,
        query_id: &str,
    ) -> Result<(), ClientError> {
        let mut cursor = self
            .query(replica, statement, query_id)
            .fetch_bytes(format)?;
        while cursor.next().await?.is_some() {}
        Ok(())
    }
}
