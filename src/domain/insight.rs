//! What can only be understood of a call, and not counted: what it was about, how the caller felt.

use super::call::words;
use serde::{Deserialize, Serialize};

words!(
    /// What a caller mainly wanted.
    Intent {
        /// An appointment.
        Appointment = "appointment",
        /// To move an appointment.
        Change = "change",
        /// To call an appointment off.
        Cancellation = "cancellation",
        /// To know something.
        Question = "question",
        /// To leave a message.
        Message = "message",
        /// To speak to a person.
        Person = "person",
        /// To complain.
        Complaint = "complaint",
        /// To sell something.
        Sales = "sales",
        /// Something else, or it did not become clear.
        Other = "other",
    }
);

words!(
    /// How a caller felt at the end.
    Sentiment {
        /// Content.
        Positive = "positive",
        /// Neither.
        Neutral = "neutral",
        /// Annoyed or disappointed.
        Negative = "negative",
    }
);

/// What the model understood of a call. What was booked, taken down or promised by tools is not in here: that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Insight {
    /// What the caller wanted.
    pub intent: Intent,
    /// How they felt.
    pub sentiment: Sentiment,
    /// The caller's name as they said it.
    pub lead_name: Option<String>,
    /// What the caller wants the business to know.
    pub message: Option<String>,
    /// What is left to do.
    pub follow_up: Option<String>,
}
