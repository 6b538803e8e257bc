DROP TABLE messages;
DROP TABLE call_events;
DROP TABLE turns;
DROP TABLE calls;
DROP TABLE appointment_slots;
DROP TABLE appointments;
DROP TABLE customers;
