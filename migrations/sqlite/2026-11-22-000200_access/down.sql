DROP TABLE staff_actions;
DROP TABLE login_sessions;
DROP TABLE users;
DROP TABLE api_keys;
