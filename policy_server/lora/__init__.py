"""Low-rank adaptation: adapters on the policy, and the student-teacher laboratory (in ``lab``) of when it converges."""
