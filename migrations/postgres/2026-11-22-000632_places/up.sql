-- Where a job has to be done, if not anywhere: at the disk on which its file lies.
ALTER TABLE jobs ADD COLUMN place TEXT;
