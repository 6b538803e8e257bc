DROP TABLE tolls;
